"""Data sets in one format each: encoded pictures in tables and data bases. Read without Lightning but for `module`."""
