"""The operator's side of :mod:`AdminService`: asking parties and dealers how they are, and letting them drain."""
