"""What is put into a running text and how: blocks of tokens, injections, two ways to compute them."""
