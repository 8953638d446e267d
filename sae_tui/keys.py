"""Every action of the workbench: its id, its keys, its words. One table.

Key bindings, the line at the bottom, `?`, the command palette, what a person may remap in `settings.toml` and the
README's table are drawn from it. An id is `section.name`: a section is a screen, a widget that takes keys of its own,
or `app`, what works everywhere; the name is that of the method `action_name` which does it.
"""

import functools
from collections.abc import Iterable
from dataclasses import dataclass

from textual.binding import Binding
from textual.keys import format_key


@dataclass(frozen=True, slots=True)
class Action:
    """One thing a person can do from the keyboard."""

    id: str
    keys: str
    """In Textual's names, several with commas between: `j,down`."""
    label: str
    """One or two words, for the line at the bottom."""
    help: str
    """What it does, in a sentence without its full stop."""
    shown: bool = True
    """Whether the line at the bottom may show it; `?` always does."""

    @property
    def section(self) -> str:
        """What it belongs to."""
        return self.id.partition(".")[0]

    @property
    def name(self) -> str:
        """The method that does it, without `action_`."""
        return self.id.partition(".")[2]


SECTIONS = {
    "app": "Everywhere",
    "runs": "Runs",
    "compare": "Comparing runs",
    "alike": "Comparing features",
    "study": "Studies",
    "probe": "The probe",
    "configure": "A new run",
    "foreign": "An SAE from elsewhere",
    "train": "Train",
    "features": "Features",
    "feature": "One feature",
    "concept": "A concept",
    "map": "The map",
    "peaks": "The heat map of all features",
    "steer": "Steer",
    "image": "Steer, on an image",
    "edits": "Interventions",
    "experiment": "An experiment",
    "prompt": "In the prompt",
    "command": "In the command line",
    "sql": "SQL",
    "table": "In tables",
    "tree": "In the list of tables",
    "chart": "In charts",
    "tokens": "In token text",
    "gallery": "In a gallery of images",
    "classes": "In bars by class",
    "histogram": "In a histogram",
    "heatmap": "In a heat map",
    "multiples": "In small multiples",
    "choice": "In a form's choices",
    "log": "In logs and long texts",
}
"""Each section's name for a person, in the order of the help."""

ACTIONS: tuple[Action, ...] = (
    Action("app.runs", "1", "runs", "Runs: every session, its state and its headline numbers", shown=False),
    Action("app.train", "2", "train", "Train: the curves of a run, live", shown=False),
    Action("app.features", "3", "features", "Features: browse, filter and sort what the SAE has learned", shown=False),
    Action("app.steer", "4", "steer", "Steer: change what the model says while it says it", shown=False),
    Action("app.sql", "5", "SQL", "SQL: ask the feature database anything", shown=False),
    Action("app.help", "question_mark,f1", "help", "Every key that works here"),
    Action(
        "app.palette", "colon,ctrl+p", "commands",
        "Find any command; a number opens that feature, a session's name that session",
    ),
    Action("app.copy", "y", "copy", "Copy what is under the cursor, through SSH too, and say what it was", shown=False),
    Action("app.copy_command", "Y", "as command", "Copy the shell command that shows the same", shown=False),
    Action("app.zoom", "z", "zoom", "Give the pane at hand the whole screen; again or esc gives it back", shown=False),
    Action("app.reload", "R", "reload", "Read everything again", shown=False),
    Action("app.redraw", "ctrl+l", "redraw", "Draw the whole screen again", shown=False),
    Action("app.suspend_process", "ctrl+z", "suspend", "Back to the shell; `fg` returns", shown=False),
    Action("app.back", "q", "back", "Back; on a main screen: quit (jobs go on)", shown=False),
    Action("app.quit", "ctrl+q", "quit", "Quit at once; jobs go on", shown=False),

    Action("runs.new", "n", "new", "Configure a new run, from a preset"),
    Action("runs.clone", "c", "clone", "Configure a new run, from this one's configuration"),
    Action("runs.foreign", "i", "import", "Import an SAE that somebody else trained", shown=False),
    Action("runs.mark", "space", "mark", "Mark it: Train lays its curves over others', `d` compares it with others"),
    Action("runs.compare", "d", "compare", "Compare the marked ones, or all: FVU over L0, and what differs"),
    Action("runs.features", "m", "match", "Match the features of the marked ones, or of all, in order of their names"),
    Action("runs.study", "u", "studies",
           "Studies: runs that differ in sparsity alone; frequency and specialisation, emergence", shown=False),
    Action("runs.probe", "p", "probe", "The probe: its features on texts of several categories", shown=False),
    Action("runs.log", "v", "log", "What its jobs printed, as it comes"),
    Action("runs.stop", "x", "stop", "Stop its job, after asking; a training keeps a checkpoint"),
    Action("runs.resume", "r", "resume", "Go on with a training that was stopped, failed or interrupted"),
    Action("runs.filter", "slash", "filter", "Only the sessions with these letters in their name"),
    Action("runs.sort", "s", "sort", "Sort by the column at the cursor; again: downwards; then as before", shown=False),
    Action("runs.delete", "D", "delete", "Delete its folder, after asking"),
    Action("runs.train", "T", "train", "Train it, then evaluate and analyse it; for one that waits", shown=False),
    Action("runs.evaluate", "E", "evaluate", "Measure it on the test split, in a process of its own", shown=False),
    Action("runs.analyze", "A", "analyse", "Build its feature database, in a process of its own", shown=False),
    Action("runs.demo", "t", "demo", "Train the demo: a first SAE on the embedded model, in some minutes", shown=False),
    Action("runs.leave", "escape", "all", "Leave the filter; show all sessions again", shown=False),

    Action("compare.axis", "w", "y axis", "FVU against L0, the CE-loss score, or fidelity where the model classifies"),
    Action("compare.differences", "d", "differences", "All that differs between the run at the cursor and the others"),
    Action("compare.features", "m", "features", "Their features beside each other: alike, and alone"),
    Action("compare.study", "u", "studies", "Studies of the run's features: frequency and specialisation, emergence"),
    Action("compare.sort", "s", "sort", "Sort by the column at the cursor; again: downwards; then by name"),
    Action("compare.leave", "escape", "back", "The points in their pane again; else back"),

    Action("alike.by", "b", "by", "Alike by direction of decoder rows, by firing together, by documents"),
    Action("alike.list", "v", "list", "Features that are each other's best, those of one alone, of the other alone"),
    Action("alike.follow", "f", "follow", "Follow the feature at the cursor through all of them, or the matches again"),
    Action("alike.baselines", "n", "baselines",
           "What each has to beat at its L0: raw neurons, principal components, random directions"),
    Action("alike.next", "right_square_bracket", "next", "Match the next two"),
    Action("alike.previous", "left_square_bracket", "before", "Match the two before", shown=False),
    Action("alike.study", "u", "studies", "The studies of the session at the cursor"),
    Action("alike.pane", "tab", "pane", "The next pane"),
    Action("alike.pane_before", "shift+tab", "pane before", "The pane before", shown=False),
    Action("alike.leave", "escape", "back", "Stop what runs; the matches, the SAEs again; else back"),

    Action("study.pane", "tab", "pane", "The next pane"),
    Action("study.pane_before", "shift+tab", "pane before", "The pane before", shown=False),
    Action("study.leave", "escape", "back", "Stop what runs; else back"),

    Action("probe.run", "r", "run", "Run the standard probe: 70 texts of 7 categories"),
    Action("probe.file", "f", "file", "Run it on a file of one's own: .jsonl with text and category, or .txt"),
    Action("probe.list", "v", "list", "Frequent features, selective ones, specialists, the strongest on each text"),
    Action("probe.next", "right_square_bracket", "next", "The next result that is kept"),
    Action("probe.previous", "left_square_bracket", "before", "The result before", shown=False),
    Action("probe.pane", "tab", "pane", "The next pane"),
    Action("probe.pane_before", "shift+tab", "pane before", "The pane before", shown=False),
    Action("probe.leave", "escape", "back", "Stop what runs; else back"),

    Action("heatmap.open", "enter", "feature", "Open the feature of the cell at the cursor"),
    Action("heatmap.left", "h,left", "text before", "To the text before", shown=False),
    Action("heatmap.right", "l,right", "next text", "To the next text", shown=False),
    Action("heatmap.down", "j,down", "down", "To the feature below", shown=False),
    Action("heatmap.up", "k,up", "up", "To the feature above", shown=False),
    Action("heatmap.group", "full_stop", "category", "To the first text of the next category", shown=False),
    Action("heatmap.group_before", "comma", "category before", "To the category before", shown=False),
    Action("heatmap.first", "g,home", "first", "To the first feature", shown=False),
    Action("heatmap.last", "G,end", "last", "To the last feature", shown=False),

    Action("configure.start", "ctrl+s", "start", "Start the run, or the runs of its sweep, if nothing is wrong"),
    Action("configure.offer", "ctrl+o", "choices", "Models, hook points, corpora there are, for the field at hand"),
    Action("configure.everything", "ctrl+t,a", "all fields", "Every field of a run, or only those that matter first"),
    Action("configure.edit", "ctrl+e,e", "editor", "Edit the same as TOML in $VISUAL or $EDITOR"),
    Action("configure.up", "up", "up", "To the field before", shown=False),
    Action("configure.down", "down", "down", "To the next field", shown=False),
    Action("configure.leave", "escape", "leave", "Leave the form, after asking what to do with what was changed"),

    Action("foreign.start", "ctrl+s", "import", "Import it, if nothing is wrong with it"),
    Action("foreign.offer", "ctrl+o", "choices", "Releases of SAELens' list, models, hook points, for the row at hand"),
    Action("foreign.up", "up", "up", "To the row before", shown=False),
    Action("foreign.down", "down", "down", "To the next row", shown=False),
    Action("foreign.leave", "escape", "leave", "Leave it; an import that runs goes on"),

    Action("train.open", "enter", "zoom", "Give the chart at hand the whole screen; again or esc gives it back"),
    Action("train.next", "right_square_bracket,tab", "next", "The next chart"),
    Action("train.previous", "left_square_bracket,shift+tab", "back", "The chart before"),
    Action("train.log", "L", "log y", "A logarithmic y axis for the chart at hand, or a linear one again"),
    Action("train.axis", "w", "x axis", "The x axis in steps, in tokens or in the time trained"),
    Action("train.smooth", "m", "smooth", "Smooth what varies by batch: a moving average of .6, .9 or .99, or none"),
    Action("train.show_log", "v", "log", "What the session's jobs printed, as it comes"),
    Action("train.overlay", "o", "overlay", "Lay the curves of the runs marked on the Runs screen over this one's"),
    Action("train.pause", "p", "pause job", "Pause the job itself, which waits in memory; again lets it go on"),
    Action("train.stop", "x", "stop job", "Stop the job, after asking; a training keeps a checkpoint"),
    Action("train.resume", "r", "resume", "Go on with a training that was stopped, failed or interrupted"),
    Action("train.tail", "f", "tail", "Follow the end of the run, or show all of it again", shown=False),
    Action("train.left", "left", "left", "The chart at the left; where one is zoomed, the crosshair", shown=False),
    Action("train.right", "right", "right", "The chart at the right; where one is zoomed, the crosshair", shown=False),
    Action("train.up", "up", "up", "To the row of charts above; in the panel, a line up", shown=False),
    Action("train.down", "down", "down", "To the row of charts below; in the panel, a line down", shown=False),
    Action("train.back_out", "escape", "back", "Out of the zoomed chart; else put the crosshair away", shown=False),

    Action("features.filter", "slash", "filter", "Filter by words, or by a condition in SQL"),
    Action("features.sort", "s", "sort", "Sort by the column at the cursor; again: the other way round"),
    Action("features.facet", "f", "facet", "All, alive, dead, dense, specialists, duplicates, starred, labelled ones"),
    Action("features.kinds", "F", "choose", "Choose a facet, or a category whose specialists to list"),
    Action("features.columns", "v", "columns", "Another set of columns"),
    Action("features.concept", "c", "concept", "Search for a concept: the features that example texts have in common"),
    Action("features.map", "m", "map", "The map of decoder directions, the listed features lit"),
    Action("features.heat", "H", "heat map", "The heat map of all features: how strong each gets, the listed ones lit"),
    Action("features.star", "asterisk", "star", "Star the marked features, or the one at the cursor; or take it away"),
    Action("features.label", "e", "label", "Say in a few words what it, or all that are marked, stand for"),
    Action("features.propose", "p", "propose", "Propose a label from the tokens it fires on, for all marked ones too",
           shown=False),
    Action("features.explain", "P", "ask for label",
           "Ask a language model for a label and its detection score, for all marked ones too", shown=False),
    Action("features.steer", "a", "steer", "Steer with the marked features, or with the one at the cursor"),
    Action("features.mark", "space", "mark", "Mark the feature, or unmark it"),
    Action("features.tags", "T", "tags", "Give it tags, or all that are marked; commas between", shown=False),
    Action("features.note", "n", "note", "Write a longer note about it, or about all that are marked", shown=False),
    Action("features.copy_numbers", "number_sign", "copy numbers", "Copy the numbers of all marked", shown=False),
    Action("features.sort_by", "S", "sort by", "Choose the column to sort by", shown=False),
    Action("features.next", "right_square_bracket", "next", "The next feature, from the preview too", shown=False),
    Action("features.previous", "left_square_bracket", "previous", "The feature before", shown=False),
    Action("features.copy_condition", "C", "copy condition", "Copy the condition that ran", shown=False),
    Action("features.analyze", "A", "analyse", "Run held-out text through the SAE, in a job of its own", shown=False),
    Action("features.leave", "escape", "back", "Leave the box; stop looking; clear filter, facet, marks", shown=False),

    Action("feature.label", "e", "label", "Say in a few words what it stands for"),
    Action("feature.propose", "p", "propose", "Propose a label from the tokens it fires on", shown=False),
    Action("feature.explain", "P", "ask for label", "Ask a language model for a label and its detection score",
           shown=False),
    Action("feature.note", "n", "note", "Write a longer note about it", shown=False),
    Action("feature.tags", "T", "tags", "Give it tags, commas between", shown=False),
    Action("feature.star", "asterisk", "star", "Star it, or take the star away"),
    Action("feature.steer", "a", "steer", "Steer with it: ablate, amplify, add"),
    Action("feature.band", "i", "band", "Contexts, or images, of all activations, the strongest, then band by band"),
    Action("feature.text", "t", "text", "Type a text and see where on it the feature fires; again edits the text"),
    Action("feature.link", "u", "link", "Copy the address of its page on Neuronpedia", shown=False),
    Action("feature.browse", "U", "open link", "Open its page on Neuronpedia; copied where there is no browser here",
           shown=False),
    Action("feature.ids", "number_sign", "ids", "Tokens as their ids, or as text again", shown=False),
    Action("feature.log", "L", "log", "The histogram's counts on a log scale, or as they are", shown=False),
    Action("feature.next", "right_square_bracket", "next", "The next feature in the order of the Features screen"),
    Action("feature.previous", "left_square_bracket", "previous", "The feature before in that order", shown=False),
    Action("feature.earlier", "backspace", "earlier", "The feature one was at before this one", shown=False),
    Action("feature.pane", "tab", "pane", "The next pane of those that the strip names"),
    Action("feature.pane_before", "shift+tab", "pane before", "The pane before", shown=False),
    Action("feature.firing", "full_stop", "next firing", "In a document: the next token it fires on"),
    Action("feature.firing_before", "comma", "firing before", "In a document: the one before", shown=False),
    Action("feature.close", "escape", "back", "From a document to the contexts, and from there back", shown=False),

    Action("concept.run", "ctrl+j,ctrl+s", "search", "Search with these texts"),
    Action("concept.pane", "tab", "pane", "The examples, the contrast texts, the features found"),
    Action("concept.pane_before", "shift+tab", "pane before", "The pane before", shown=False),
    Action("concept.mark", "space", "mark", "Mark the feature, here and in Features; or unmark it"),
    Action("concept.mark_all", "asterisk", "mark all", "Mark all that were found; or unmark them"),
    Action("concept.filter", "f", "only these", "Show only these in Features"),
    Action("concept.edit", "i", "texts", "To the example texts", shown=False),
    Action("concept.leave", "escape", "back", "Stop the search; from the texts to what was found; else back"),

    Action("map.open", "enter", "its features", "To the list of the features of the cluster under the cursor"),
    Action("map.next", "right_square_bracket", "next cluster", "To the next cluster, by size"),
    Action("map.previous", "left_square_bracket", "cluster before", "To the cluster before", shown=False),
    Action("map.closer", "plus,equals_sign", "closer", "A smaller part of the map, around the cursor"),
    Action("map.wider", "minus", "wider", "A larger part of the map"),
    Action("map.whole", "0", "whole", "All of the map"),
    Action("map.names", "t", "names", "The clusters' names on the map, or none"),
    Action("map.left", "h,left", "left", "The cursor to the left; at the edge the map moves", shown=False),
    Action("map.right", "l,right", "right", "The cursor to the right", shown=False),
    Action("map.up", "k,up", "up", "The cursor up", shown=False),
    Action("map.down", "j,down", "down", "The cursor down", shown=False),
    Action("map.far_left", "H,shift+left", "far left", "Eight columns to the left", shown=False),
    Action("map.far_right", "L,shift+right", "far right", "Eight columns to the right", shown=False),
    Action("map.far_up", "K,shift+up", "far up", "Four rows up", shown=False),
    Action("map.far_down", "J,shift+down", "far down", "Four rows down", shown=False),
    Action("map.leave", "escape", "back", "Back to the list, as it was"),

    Action("peaks.open", "enter", "feature", "Open the feature at the cursor, or the strongest of its cell"),
    Action("peaks.next", "right_square_bracket", "weaker", "To the next by strength, from the strongest on"),
    Action("peaks.previous", "left_square_bracket", "stronger", "To the one before by strength", shown=False),
    Action("peaks.left", "h,left", "left", "To the feature before", shown=False),
    Action("peaks.right", "l,right", "right", "To the next feature", shown=False),
    Action("peaks.up", "k,up", "up", "To the row above", shown=False),
    Action("peaks.down", "j,down", "down", "To the row below", shown=False),
    Action("peaks.far_left", "H,shift+left", "far left", "Ten cells to the left", shown=False),
    Action("peaks.far_right", "L,shift+right", "far right", "Ten cells to the right", shown=False),
    Action("peaks.far_up", "K,shift+up", "far up", "Ten rows up", shown=False),
    Action("peaks.far_down", "J,shift+down", "far down", "Ten rows down", shown=False),
    Action("peaks.first", "g,home", "first", "To the first feature", shown=False),
    Action("peaks.last", "G,end", "last", "To the last feature", shown=False),
    Action("peaks.leave", "escape", "back", "Back to the list, as it was"),

    Action("image.next", "right_square_bracket", "next image", "The next image of the test split"),
    Action("image.previous", "left_square_bracket", "before", "The image before", shown=False),
    Action("image.mistake", "m", "mistake", "The next image that the classifier takes for another class"),
    Action("image.number", "p", "number", "An image by its number in the data set"),
    Action("image.view", "b", "view", "The image as it is, or as the interventions make it"),
    Action("image.again", "r", "again", "Ask again, of another engine where the one there was died", shown=False),
    Action("image.pane", "tab", "pane", "The interventions, or the features that fire on the image"),
    Action("image.pane_before", "shift+tab", "pane before", "The other pane", shown=False),
    Action("image.leave", "escape", "stop", "Stop loading; else leave what has the whole screen", shown=False),

    Action("steer.prompt", "p", "prompt", "To the prompt"),
    Action("edits.command", "slash", "command", "A command, such as /amplify 12 4 or /find date; tab completes it"),
    Action("steer.rerun", "r", "run", "Generate anew from the prompt, with the same seed"),
    Action("steer.pause", "n", "pause/on", "Pause the text that comes, or go on: what was changed holds from there on"),
    Action("steer.step", "full_stop", "step", "One token more, then pause"),
    Action("steer.rewind", "backspace", "rewind", "Take back the token at the cursor and all after it, or the last"),
    Action("steer.fork", "f", "fork", "Try again from the token at the cursor on, in a branch of its own"),
    Action("steer.parent", "H", "parent", "To the branch that this one parts from", shown=False),
    Action("steer.child", "L", "child", "To the first branch that parts from this one", shown=False),
    Action("steer.sibling", "J", "next branch", "To the next branch that parts from the same one", shown=False),
    Action("steer.sibling_before", "K", "branch before", "To the branch before of the same one", shown=False),
    Action("edits.stronger", "plus,equals_sign", "stronger", "The intervention at the cursor one step stronger"),
    Action(
        "edits.weaker", "minus", "weaker",
        "One step weaker: 1 of scale, a quarter of its max of add, set and cap", shown=False,
    ),
    Action("edits.switch", "space", "on/off", "Switch the intervention off, or on again"),
    Action("steer.view", "b", "view", "Baseline and steered text side by side, or one of them"),
    Action(
        "steer.color", "c", "light",
        "Light the tokens by the feature at the cursor, by KL, by how far apart the two runs find each, or not at all",
    ),
    Action(
        "steer.rank", "s", "list",
        "What fires on the token; next tokens; what the next one rests on, three ways; how sparse the text is",
    ),
    Action("steer.target", "x", "target", "Which next token features are ranked for", shown=False),
    Action("steer.stop", "escape", "stop", "Pause the text that comes; else leave prompt or token", shown=False),
    Action("edits.ablate", "0", "ablate", "Ablate its feature instead: set it to 0", shown=False),
    Action("edits.remove", "D", "delete", "Take the intervention away", shown=False),
    Action("edits.undo", "u", "undo", "Take back the last change of interventions or settings", shown=False),
    Action("edits.redo", "U", "redo", "Do again what was taken back", shown=False),
    Action("edits.add", "a", "add", "Add its max to the firing feature at the cursor, everywhere", shown=False),
    Action("edits.feature", "o", "feature", "Open the feature at the cursor", shown=False),
    Action("steer.live", "t", "live", "Generate again by itself whenever the interventions change", shown=False),
    Action("steer.experiment", "E", "experiment",
           "Measure: a sweep of strengths, the interference of two features, a feature's effect", shown=False),
    Action("steer.save", "w", "save", "Save the transcript now; at its end each is saved by itself", shown=False),
    Action("steer.saved", "W", "saved", "Transcripts and recipes of the session: open one, with its branches"),

    Action("experiment.run", "ctrl+s,ctrl+j", "measure", "Measure what the form asks for"),
    Action("experiment.take", "a", "to Steer", "The best strength of the window to Steer; enter takes the row's"),
    Action("experiment.damage", "m", "damage", "Another figure of damage: KL, perplexity, repetition"),
    Action("experiment.up", "up", "up", "To the row of the form before", shown=False),
    Action("experiment.down", "down", "down", "To the next row of the form", shown=False),
    Action("experiment.pane", "tab", "pane", "The next pane"),
    Action("experiment.pane_before", "shift+tab", "pane before", "The pane before", shown=False),
    Action("experiment.leave", "escape", "back", "Stop what is measured, keeping what is whole; else back to Steer"),

    Action("prompt.generate", "enter", "generate", "Generate: baseline and steered text from this prompt"),
    Action("prompt.newline", "ctrl+j", "newline", "A new line in the prompt"),

    Action("command.complete", "tab", "complete", "Take the word that is chosen in the list, or its first"),
    Action("command.next", "down", "next", "Choose the next word of the list", shown=False),
    Action("command.previous", "up", "before", "Choose the word before", shown=False),
    Action("command.leave", "escape", "leave", "Leave the line with nothing done"),

    Action("sql.run", "ctrl+j,f5,ctrl+enter", "run", "Run the query, or the part of it that is selected"),
    Action("sql.leave", "escape", "result", "Stop the query or the export; else from the editor to the result"),
    Action("sql.edit", "i", "edit", "To the editor"),
    Action("sql.tables", "t", "tables", "To the list of tables; tab goes there too"),
    Action("sql.history", "ctrl+r", "history", "Choose among the queries that were run"),
    Action("sql.save", "w,ctrl+s", "save", "Keep the query under a name, among the examples"),
    Action("sql.forget", "D", "forget", "Delete the saved query at the cursor, after asking", shown=False),
    Action("sql.examples", "x", "examples", "The examples and the saved queries again", shown=False),
    Action("sql.cell", "space", "cell", "All of the cell at the cursor, JSON over several lines"),
    Action("sql.export", "E,ctrl+e", "export", "Write all rows of the result to a .csv, .json or .parquet file"),

    Action("tree.fold", "o", "columns", "Show the table's columns or hide them, also with l and h"),

    Action("table.open", "enter", "open", "Open the row at the cursor"),
    Action("table.down", "j,down", "down", "To the next row", shown=False),
    Action("table.up", "k,up", "up", "To the row before", shown=False),
    Action("table.left", "h,left", "column left", "To the column at the left", shown=False),
    Action("table.right", "l,right", "column right", "To the column at the right", shown=False),
    Action("table.half_down", "ctrl+d", "half down", "Half a view further", shown=False),
    Action("table.half_up", "ctrl+u", "half up", "Half a view back", shown=False),
    Action("table.page_down", "pagedown", "page down", "A view further", shown=False),
    Action("table.page_up", "pageup", "page up", "A view back", shown=False),
    Action("table.first", "g,home", "first", "To the first row", shown=False),
    Action("table.last", "G,end", "last", "To the last row", shown=False),

    Action("chart.left", "h", "left", "The crosshair to the left: what all runs had there", shown=False),
    Action("chart.right", "l", "right", "The crosshair to the right", shown=False),
    Action("chart.far_left", "comma", "far left", "The crosshair ten columns to the left", shown=False),
    Action("chart.far_right", "full_stop", "far right", "The crosshair ten columns to the right", shown=False),
    Action("chart.first", "home", "start", "The crosshair to the beginning", shown=False),
    Action("chart.last", "end", "end", "The crosshair to the end", shown=False),
    Action("chart.closer", "plus,equals_sign", "closer", "Less of the x axis, around the crosshair", shown=False),
    Action("chart.wider", "minus", "wider", "More of the x axis", shown=False),
    Action("chart.whole", "0", "whole", "All of the x axis", shown=False),

    Action("tokens.open", "enter", "features", "To the features that fire on the token at the cursor"),
    Action("tokens.left", "h,left", "token left", "To the token before", shown=False),
    Action("tokens.right", "l,right", "token right", "To the next token", shown=False),
    Action("tokens.down", "j,down", "line down", "To the token below", shown=False),
    Action("tokens.up", "k,up", "line up", "To the token above", shown=False),
    Action("tokens.page_down", "pagedown,ctrl+d", "page down", "A view further", shown=False),
    Action("tokens.page_up", "pageup,ctrl+u", "page up", "A view back", shown=False),
    Action("tokens.first", "g,home", "first", "To the first token", shown=False),
    Action("tokens.last", "G,end", "last", "To the last token", shown=False),

    Action("gallery.open", "enter", "features", "To the features that fire on the image at the cursor"),
    Action("gallery.left", "h,left", "image before", "To the image before", shown=False),
    Action("gallery.right", "l,right", "next image", "To the next image", shown=False),
    Action("gallery.down", "j,down", "down", "To the image below", shown=False),
    Action("gallery.up", "k,up", "up", "To the image above", shown=False),
    Action("gallery.larger", "plus,equals_sign", "larger", "Whole images"),
    Action("gallery.smaller", "minus", "smaller", "Images at half their size, four times as many"),
    Action("gallery.page_down", "pagedown,ctrl+d", "page down", "A view further", shown=False),
    Action("gallery.page_up", "pageup,ctrl+u", "page up", "A view back", shown=False),
    Action("gallery.first", "g,home", "first", "To the first image", shown=False),
    Action("gallery.last", "G,end", "last", "To the last image", shown=False),

    Action("classes.open", "enter", "an image", "To the next image of the class at the cursor"),
    Action("classes.down", "j,down", "down", "To the class below", shown=False),
    Action("classes.up", "k,up", "up", "To the class above", shown=False),
    Action("classes.first", "g,home", "first", "To the first class", shown=False),
    Action("classes.last", "G,end", "last", "To the last class", shown=False),

    Action("histogram.left", "h,left", "weaker", "To the bin at the left", shown=False),
    Action("histogram.right", "l,right", "stronger", "To the bin at the right", shown=False),
    Action("histogram.first", "g,home", "weakest", "To the first bin", shown=False),
    Action("histogram.last", "G,end", "strongest", "To the last bin", shown=False),
    Action("histogram.open", "enter", "its places", "To the contexts, or images, with an activation of this bin"),

    Action("multiples.open", "enter", "feature", "Open the feature at the cursor"),
    Action("multiples.down", "j,down", "down", "To the next feature", shown=False),
    Action("multiples.up", "k,up", "up", "To the feature above", shown=False),
    Action("multiples.first", "g,home", "first", "To the first feature", shown=False),
    Action("multiples.last", "G,end", "last", "To the last feature", shown=False),

    Action("choice.next", "right,l,enter,space", "next", "The next choice", shown=False),
    Action("choice.previous", "left,h", "before", "The choice before", shown=False),

    Action("log.search", "slash", "search", "Look for letters in it, as one types"),
    Action("log.next", "n", "next", "The next line with what is looked for"),
    Action("log.previous", "N", "previous", "The line before with what is looked for"),
    Action("log.last", "G,end", "end", "To the end, which then stays in view as it grows"),
    Action("log.first", "g,home", "start", "To its beginning", shown=False),
    Action("log.down", "j,down", "down", "One row further", shown=False),
    Action("log.up", "k,up", "up", "One row back", shown=False),
    Action("log.page_down", "space,pagedown,ctrl+d", "page down", "A view further", shown=False),
    Action("log.page_up", "pageup,ctrl+u", "page up", "A view back", shown=False),
    Action("log.leave", "escape", "back", "End the search; without one, back"),
)  # fmt: skip


@functools.cache
def actions(section: str) -> tuple[Action, ...]:
    """The section's actions, in the table's order."""
    return tuple(action for action in ACTIONS if action.section == section)


def bindings(section: str) -> list[Binding]:
    """The section's actions as Textual takes them, each with its id, by which a person's keymap finds it."""
    prefix = "app." if section == "app" else ""
    return [
        Binding(
            action.keys,
            f"{prefix}{action.name}",
            action.label,
            id=action.id,
            show=action.shown,
            tooltip=action.help,
            priority=action.id == "app.quit",  # from dialogs too
        )
        for action in actions(section)
    ]


def shown_keys(keys: Iterable[str]) -> str:
    """Keys as a person reads them: `? F1`, `^P`, `enter`."""
    return " ".join(
        _KEY_NAMES.get(key) or (f"^{key[5:].upper()}" if key.startswith("ctrl+") else format_key(key)) for key in keys
    )


_KEY_NAMES = {
    "question_mark": "?",
    "colon": ":",
    "left_square_bracket": "[",
    "right_square_bracket": "]",
    "escape": "esc",
    "plus": "+",
    "minus": "-",
    "asterisk": "*",
    "slash": "/",
    "f1": "F1",
    "f5": "F5",
    "ctrl+enter": "^enter",
    "down": "↓",
    "up": "↑",
    "left": "←",
    "right": "→",
    "enter": "enter",
    "space": "space",
    "tab": "tab",
    "pageup": "PgUp",
    "pagedown": "PgDn",
    "home": "Home",
    "end": "End",
}
