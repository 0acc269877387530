"""CT volumes from files, and the tables beside them, read strictly."""
