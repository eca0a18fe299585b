"""What the tests are written with: a server, a client, Qt processes and the kernel's own word."""
