"""Synthetic recordings: animated people, seen by three cameras, written as NTU `.skeleton` files.

They let the whole pipeline run, and learn something, without any data set. What makes them worth
learning from: actions share poses and differ in their dynamics (raise a hand / wave, bow / pick up,
sit down / stand up). People differ in size, proportions, tempo, reach and handedness. Cameras see
the same performance at the same time from 45 degrees apart, start and stop at their own moments,
and guess the joints that the body hides from them.

    actions.py         what is done: an action is a function of time and style that gives a pose
    body.py            who does it: bones, proportions, and from a pose to joints
    performance.py     one performance of an action by one or two people in a scene
    camera.py          what a camera sees of it
    skeleton_file.py   the text of a `.skeleton` file
    recorder.py        every action by every person with every camera
"""
