"""Where training starts: pretraining, units of data and code, first centres."""
