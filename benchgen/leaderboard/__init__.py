"""Standings that last: results of many models that anyone can check and extend."""
