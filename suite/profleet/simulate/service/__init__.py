"""Service times: profiles and distributions become tables that the engine draws from."""
