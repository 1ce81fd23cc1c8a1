"""Executors of tasks: the driver's process, worker processes, or a Dask cluster."""
