"""What moving mass costs."""
