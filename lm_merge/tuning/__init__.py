"""Coefficients of a merge from data: fitted by gradients, or searched for trial by trial."""
