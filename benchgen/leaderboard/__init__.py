"""Standings that last: a folder of results that anyone can check and extend."""
