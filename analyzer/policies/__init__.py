"""Path-assignment policies: each a file here, or anywhere, that ends in one call of `registry.register`."""
