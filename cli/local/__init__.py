"""What commands do on the store of this machine, without the API. The light install has no part of it."""
