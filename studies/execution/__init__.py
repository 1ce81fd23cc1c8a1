"""From a design to records: the plan, the driver, and how one task is run."""
