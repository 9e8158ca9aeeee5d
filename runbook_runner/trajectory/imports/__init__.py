"""Room `trajectory`, `imports`: runs that were recorded elsewhere, turned into events and into a trajectory folder."""
