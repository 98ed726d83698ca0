"""`--explain`: a verdict on what a snippet tried, the account behind it, a report and a log."""
