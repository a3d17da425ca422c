"""What an operator looks at, and what tells them: status, doctor, logs, alerts, metrics."""
