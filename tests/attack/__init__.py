"""What strangers and holders of the smallest key may try: raw sockets, slow readers, bombs, hostile servers."""
