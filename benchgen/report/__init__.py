"""Reports: the same result documents as a terminal table, HTML, Markdown, CSV and JSON."""
