"""What is deployed and where it runs, in the store: models, deployments, environments, live replicas."""
