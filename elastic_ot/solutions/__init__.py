"""What calls return: passive findings with methods."""
