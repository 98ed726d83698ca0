"""What models write into their plain text: thinking, and calls in the forms they were taught."""
