"""The only user of lm_eval."""
