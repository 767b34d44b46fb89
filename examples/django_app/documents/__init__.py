"""Documents with a title and a file, kept by the admin."""
