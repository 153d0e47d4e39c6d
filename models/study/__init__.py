"""The published study (P): 2,400 simulated finished sessions, four classifiers, and everything measured on them."""
