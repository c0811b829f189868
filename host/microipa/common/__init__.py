"""What every part uses: errors, paths, console, text from outside."""
