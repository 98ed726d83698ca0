"""What passes between the variables of a session and the host: values, questions, calls."""
