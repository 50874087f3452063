"""What colony costs, beside its peers, in one run."""
