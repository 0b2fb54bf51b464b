"""What the `truss` command of Baseten speaks: GraphQL, and S3 for its uploads."""
