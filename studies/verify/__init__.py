"""Verification of a study: check the records, rebuild the storage, and rerun runs."""
