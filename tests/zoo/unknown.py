"""What the walk does not follow."""

from torch import nn


class Unknown(nn.Module):
    """Operations that the program does not know: what enters them stays, and so does what leaves.

    x -> conv1 -> relu -> conv2 -> renorm over channels -> conv3 -> running maximum -> fc (after the
    mean) ->

    Groups:
        conv1 4: conv1.weight[0] conv1.bias[0] conv2.weight[1]
    Fixed:
        conv2 5/5: an unsupported operation: aten.renorm
        conv3 6/6: an unsupported operation: aten.cummax
        fc 2/2: the network's output
    """

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3)
        self.conv2 = nn.Conv2d(4, 5, 1)
        self.conv3 = nn.Conv2d(5, 6, 3)
        self.fc = nn.Linear(6, 2)

    def forward(self, x):
        x = self.conv2(self.conv1(x).relu())
        x = self.conv3(x.renorm(2, 1, 1.0))  # fixes
        x = x.cummax(1).values  # fixes
        return self.fc(x.mean((2, 3)))
