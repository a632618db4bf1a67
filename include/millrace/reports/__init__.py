"""Reports: questions whose answers are sent to people, on a schedule or when somebody asks."""
