"""Maps over the list of features, the listed ones lit: of decoder directions, and of how strong each gets."""

from sae_tui.screens.feature_list import FeatureList


class Maps(FeatureList):
    """The list, with what is opened over it and comes back with a cluster or a feature."""

    def action_map(self) -> None:
        """The map of decoder directions."""
        if self._found is not None:
            from sae_tui.screens.map import MapPage

            self.app.push_screen(MapPage(self.conditions, self._wanted.kind.cluster), self._left_map)

    def _left_map(self, cluster: int | None) -> None:
        if cluster is not None:
            self.show_cluster(cluster)
            self._table.focus()

    def action_heat(self) -> None:
        """The heat map of all features."""
        if self._found is not None and self.app.session is not None:
            from sae_tui.screens.peaks import PeaksPage

            conditions = self._found.order.conditions
            self.app.push_screen(PeaksPage(self.app.session, conditions, self._anchor), self._left_heat)

    def _left_heat(self, feature: int | None) -> None:
        if feature is not None:
            self.app.open_feature(feature)
