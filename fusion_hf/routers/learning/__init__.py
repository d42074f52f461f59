"""What kinds learn with: ridge regression, clusters, groups of queries, gradient descent."""
