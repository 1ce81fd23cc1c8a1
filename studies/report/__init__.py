"""Reports: pages, tables and figures as a pure function of a study's records."""
