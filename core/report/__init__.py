"""A session as one page to read, one to print, and two files for programs."""
