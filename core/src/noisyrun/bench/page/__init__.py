"""report.html: what a suite found, on one page that opens offline. Imports no torch."""
