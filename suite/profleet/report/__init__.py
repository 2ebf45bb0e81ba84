"""Tables, pictures and reports of what was measured."""
