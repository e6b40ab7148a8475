"""What leaves a finished run: a cleaned data set, and the model."""
