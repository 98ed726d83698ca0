"""Sessions over REST, beyond snippets and files: functions of the client, programs, questions."""
