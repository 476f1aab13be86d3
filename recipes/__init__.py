"""What is trained and measured: data sets, models, what runs them, and the table; ``lr_recipes`` needs none of it."""
