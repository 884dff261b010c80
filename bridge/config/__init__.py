"""Every setting: one table, how a value is found, checked, and what the machine allows."""
