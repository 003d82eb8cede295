"""What is removed and how: masks, allocation inside budgets, the plan, its application and its
checks.
"""
