"""Results as pages and plots."""
