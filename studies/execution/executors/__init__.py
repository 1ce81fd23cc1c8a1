"""Who does the work: this process, worker processes, or a Dask cluster."""
