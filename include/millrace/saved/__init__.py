"""What people make of the numbers and keep: dashboards, views and questions."""
