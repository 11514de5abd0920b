"""The capture formats that are read, a file each; `registry` has the table of them."""
