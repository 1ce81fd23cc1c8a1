"""Execution of a design: the plan, the driver, the tasks and the executors."""
