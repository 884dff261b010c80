"""Every case of OTP's supervisor_SUITE and Pekko's SupervisionSpec: its test here, or why none.

The suites are the lists of what a supervisor can get wrong.  A case that concerns what we
do not have by design says so.  `test_cases` holds every name to an existing test.
"""

from __future__ import annotations

from typing import Final

from attrs import frozen


@frozen
class Case:
    """One case of another suite."""

    suite: str
    name: str
    tests: tuple[str, ...] = ()
    """Test functions in tests/runtime that hold it."""
    why_not: str = ""


ONE_FOR_ALL: Final = (
    "one_for_all is not among our strategies: a group that has to go as one is a nested group"
)
SIMPLE: Final = (
    "no simple_one_for_one: children of any spec are started one by one, see the plain case"
)
IGNORE: Final = "a start cannot be ignored: an actor that does not want to run ends itself"
UPGRADE: Final = "hot code change is out of scope"
BY_EXCEPTION: Final = "policies go by kind of exit, not by exception: a handler catches what it can"
RESUME: Final = "no resume: what survives a crash is kept outside the incarnation"
LOGGING: Final = (
    "the runtime does not log; crashes are signals, and whoever listens decides how loud"
)
OWN_CHILDREN: Final = (
    "actors have no children of their own: siblings under one supervisor are tied by rest_for_one"
)
BEHAVIOUR: Final = "there are no behaviour objects that wrap and replace each other"

_OTP: Final[dict[str, tuple[str, ...] | str]] = {
    "sup_start_normal": ("test_an_empty_supervisor_starts_and_stops",),
    "sup_start_ignore_init": IGNORE,
    "sup_start_ignore_child": ("test_an_actor_may_end_itself_while_it_starts",),
    "sup_start_ignore_temporary_child": IGNORE,
    "sup_start_ignore_temporary_child_start_child": IGNORE,
    "sup_start_ignore_temporary_child_start_child_simple": SIMPLE,
    "sup_start_ignore_permanent_child_start_child_simple": SIMPLE,
    "sup_start_error_return": ("test_a_spec_that_makes_no_sense_is_refused_where_it_is_made",),
    "sup_start_fail": ("test_a_start_that_always_fails_spends_its_budget_and_no_more",),
    "sup_start_child_returns_error": (
        "test_a_start_that_fails_is_a_crash_and_is_tried_again",
        "test_a_constructor_that_fails_is_a_crash",
    ),
    "sup_start_restart_child_returns_error": ("test_a_crash_while_it_restarts_is_another_restart",),
    "sup_start_child_returns_error_simple": SIMPLE,
    "sup_start_map": ("test_a_spec_that_makes_no_sense_is_refused_where_it_is_made",),
    "sup_start_map_simple": SIMPLE,
    "sup_start_map_faulty_specs": ("test_a_spec_that_makes_no_sense_is_refused_where_it_is_made",),
    "sup_stop_infinity": ("test_all_the_time_there_is_waits_for_a_slow_stop",),
    "sup_stop_timeout": ("test_a_stop_that_hangs_is_cancelled_after_its_time",),
    "sup_stop_timeout_dynamic": ("test_stopping_one_child_holds_up_nobody",),
    "sup_stop_brutal_kill": ("test_no_time_to_stop_is_a_kill_at_once",),
    "sup_stop_brutal_kill_dynamic": ("test_no_time_to_stop_is_a_kill_at_once",),
    "sup_stop_race": ("test_a_child_that_ends_by_itself_during_the_shutdown_is_gone_once",),
    "sup_stop_non_shutdown_exit_dynamic": (
        "test_a_crash_during_the_stop_is_reported_and_the_rest_is_dead_letters",
    ),
    "child_adm": (
        "test_one_id_is_one_child",
        "test_to_stop_twice_or_what_is_not_there_is_harmless",
        "test_a_sibling_is_an_actor_and_anybody_else_is_a_key_error",
    ),
    "child_adm_simple": SIMPLE,
    "child_specs": ("test_a_spec_that_makes_no_sense_is_refused_where_it_is_made",),
    "child_specs_map": ("test_a_spec_that_makes_no_sense_is_refused_where_it_is_made",),
    "extra_return": "a start makes an actor and nothing else: there is no extra value to return",
    "sup_flags": ("test_a_spec_that_makes_no_sense_is_refused_where_it_is_made",),
    "external_start_no_progress_log": LOGGING,
    "permanent_normal": ("test_whether_a_child_is_restarted_by_how_it_ended",),
    "transient_normal": ("test_whether_a_child_is_restarted_by_how_it_ended",),
    "temporary_normal": ("test_whether_a_child_is_restarted_by_how_it_ended",),
    "permanent_shutdown": (
        "test_a_child_that_its_supervisor_stopped_is_never_restarted",
        "test_a_child_that_was_killed_by_its_supervisor_is_never_restarted",
    ),
    "transient_shutdown": ("test_a_child_that_its_supervisor_stopped_is_never_restarted",),
    "temporary_shutdown": ("test_a_child_that_its_supervisor_stopped_is_never_restarted",),
    "faulty_application_shutdown": ("test_a_crash_in_the_stop_hook_is_reported",),
    "permanent_abnormal": ("test_whether_a_child_is_restarted_by_how_it_ended",),
    "transient_abnormal": ("test_whether_a_child_is_restarted_by_how_it_ended",),
    "temporary_abnormal": ("test_whether_a_child_is_restarted_by_how_it_ended",),
    "temporary_bystander": ("test_a_crash_harms_no_bystander",),
    "multiple_restarts": ("test_the_budget_is_a_sliding_window",),
    "one_for_one": ("test_a_crash_harms_no_bystander",),
    "one_for_one_escalation": (
        "test_a_supervisor_that_spends_its_own_budget_escalates_and_stops_everybody",
        "test_the_root_that_escalates_cancels_the_block_and_raises_the_cause",
    ),
    "one_for_all": ONE_FOR_ALL,
    "one_for_all_escalation": ONE_FOR_ALL,
    "one_for_all_other_child_fails_restart": ONE_FOR_ALL,
    "simple_one_for_one": SIMPLE,
    "simple_one_for_one_escalation": SIMPLE,
    "simple_one_for_one_corruption": SIMPLE,
    "simple_one_for_one_extra": SIMPLE,
    "simple_one_for_one_shutdown": SIMPLE,
    "simple_one_for_one_restart_ignore": SIMPLE,
    "rest_for_one": (
        "test_those_after_a_crash_stop_in_reverse_order_and_start_in_order",
        "test_those_before_a_crash_are_not_touched",
        "test_the_last_one_restarts_alone",
    ),
    "rest_for_one_escalation": ("test_the_budget_of_the_group_ends_rest_for_one_too",),
    "rest_for_one_other_child_fails_restart": (
        "test_a_sibling_that_fails_to_restart_is_tried_again_and_the_later_ones_wait",
    ),
    "nonsignificant_temporary": ("test_the_end_of_any_other_child_ends_nothing",),
    "nonsignificant_transient": ("test_the_end_of_any_other_child_ends_nothing",),
    "significant_temporary": ("test_the_end_of_a_significant_child_ends_its_group",),
    "significant_transient": (
        "test_the_end_of_a_significant_child_ends_its_group",
        "test_a_significant_child_that_is_restarted_ends_nothing",
    ),
    "significant_simple": SIMPLE,
    "significant_bystander": ("test_a_significant_child_that_was_stopped_on_purpose_ends_nothing",),
    "significant_escalation": (
        "test_significance_climbs_through_nested_groups",
        "test_a_significant_child_that_fails_ends_its_group_as_crashed",
    ),
    "significant_upgrade_never_any": UPGRADE,
    "significant_upgrade_any_never": UPGRADE,
    "significant_upgrade_never_all": UPGRADE,
    "significant_upgrade_all_never": UPGRADE,
    "significant_upgrade_any_all": UPGRADE,
    "significant_upgrade_all_any": UPGRADE,
    "significant_upgrade_child": UPGRADE,
    "child_unlink": "a child cannot leave its supervisor: it lives in the supervisor's nursery",
    "tree": ("test_supervisors_nest", "test_a_group_stops_in_reverse_order"),
    "count_children": ("test_the_tree_tells_everything_of_a_stuck_actor",),
    "count_children_supervisor": ("test_the_tree_tells_everything_of_a_stuck_actor",),
    "count_restarting_children": ("test_every_state_of_a_life_can_be_seen",),
    "get_callback_module": "a supervisor has no callback module",
    "do_not_save_start_parameters_for_temporary_children": (
        "test_whether_a_child_is_restarted_by_how_it_ended",
        "test_the_registry_entry_goes_in_the_same_step_as_the_down",
    ),
    "do_not_save_child_specs_for_temporary_children": (
        "test_the_registry_entry_goes_in_the_same_step_as_the_down",
    ),
    "simple_one_for_one_scale_many_temporary_children": (
        "test_many_children_start_and_stop_in_linear_time",
    ),
    "simple_global_supervisor": "no distribution: one process",
    "hanging_restart_loop": (
        "test_stopping_a_child_ends_its_backoff",
        "test_a_flapping_child_takes_nobody_along",
    ),
    "hanging_restart_loop_rest_for_one": (
        "test_those_after_wait_for_the_backoff_of_the_one_that_crashed",
    ),
    "hanging_restart_loop_simple": SIMPLE,
    "code_change": UPGRADE,
    "code_change_map": UPGRADE,
    "code_change_simple": UPGRADE,
    "code_change_simple_map": UPGRADE,
    "order_of_children": ("test_children_of_a_group_start_in_order",),
    "scale_start_stop_many_children": ("test_many_children_start_and_stop_in_linear_time",),
    "format_log_1": LOGGING,
    "format_log_2": LOGGING,
    "already_started_outside_supervisor": "an actor cannot be started outside a supervisor",
    "which_children": ("test_the_tree_tells_everything_of_a_stuck_actor",),
    "which_children_simple_one_for_one": SIMPLE,
}

_PEKKO: Final[dict[str, tuple[str, ...] | str]] = {
    "receive message": ("test_an_answer_comes_back",),
    "default to stop when no strategy": "a spec always has a policy; the default is permanent",
    "stop when strategy is stop": ("test_whether_a_child_is_restarted_by_how_it_ended",),
    "stop when strategy is stop - exception in setup": (
        "test_no_restart_at_all_is_a_budget_of_none",
    ),
    "support nesting exceptions with different strategies": BY_EXCEPTION,
    "support flattening exceptions with different strategies": BY_EXCEPTION,
    "support nesting exceptions with outer restart and inner backoff strategies": BY_EXCEPTION,
    "support flattening exceptions with outer restart and inner backoff strategies": BY_EXCEPTION,
    "support nesting exceptions with inner restart and outer backoff strategies": BY_EXCEPTION,
    "support flattening exceptions with inner restart and outer backoff strategies": BY_EXCEPTION,
    "stop when not supervised": "every actor is supervised",
    "stop when unhandled exception": BY_EXCEPTION,
    "not catch fatal error": ("test_an_exit_of_the_interpreter_is_not_taken_for_a_crash",),
    "restart when handled exception": (
        "test_a_crash_loses_only_the_message_in_hand_and_that_one_is_reported",
    ),
    "stop when restart limit is hit": (
        "test_a_child_that_spends_its_budget_fails_and_its_siblings_live",
    ),
    "stop at first exception when restart retries limit is 0": (
        "test_no_restart_at_all_is_a_budget_of_none",
    ),
    "reset fixed limit after timeout": ("test_the_budget_is_a_sliding_window",),
    "stop children when restarting": (
        "test_a_task_beside_the_handlers_crashes_the_incarnation_and_ends_with_it",
        "test_those_after_a_crash_stop_in_reverse_order_and_start_in_order",
    ),
    "stop children when backoff": (
        "test_those_after_wait_for_the_backoff_of_the_one_that_crashed",
    ),
    "successfully restart after stopping watchWith'd children": (
        "test_an_actors_watch_outlives_its_restart_and_tells_once",
    ),
    "optionally NOT stop children when restarting": ("test_those_before_a_crash_are_not_touched",),
    "optionally NOT stop children when backoff": ("test_those_before_a_crash_are_not_touched",),
    "stop children when restarting second time during unstash": (
        "test_a_second_crash_among_the_kept_messages_loses_only_that_message",
    ),
    "stop children when backoff second time during unstash": OWN_CHILDREN,
    "stop children when restart (with limit) from exception in first setup": OWN_CHILDREN,
    "stop children when backoff from exception in first setup": OWN_CHILDREN,
    "stop children when restart (with limit) from exception in later setup": (
        "test_a_sibling_that_fails_to_restart_is_tried_again_and_the_later_ones_wait",
    ),
    "stop children when backoff from exception in later setup": OWN_CHILDREN,
    "resume when handled exception": RESUME,
    "support nesting to handle different exceptions": BY_EXCEPTION,
    "publish dropped messages while backing off and stash is full": (
        "test_what_is_lost_to_an_overflow_is_told_to_the_actor_once",
    ),
    "restart after exponential backoff": (
        "test_the_pause_before_a_restart_grows_up_to_its_most",
        "test_the_pause_is_really_made",
    ),
    "fail if reaching maximum number of restarts with backoff": (
        "test_a_start_that_always_fails_spends_its_budget_and_no_more",
    ),
    "reset exponential backoff count after reset timeout": (
        "test_a_calm_time_makes_the_backoff_begin_anew",
    ),
    "handle reset backoff count for more than one nested restartWithBackoff": BEHAVIOUR,
    "create underlying deferred behavior immediately": ("test_children_of_a_group_start_in_order",),
    "fail instead of restart when deferred factory throws": (
        "test_no_restart_at_all_is_a_budget_of_none",
    ),
    "fail to restart when deferred factory throws unhandled": BY_EXCEPTION,
    "fail to resume when deferred factory throws": RESUME,
    "default resetBackoffAfter to average of min and max backoff": "our default is 30 s",
    "restart with exponential backoff when deferred factory throws": (
        "test_a_start_that_fails_is_a_crash_and_is_tried_again",
    ),
    "fail instead of restart with exponential backoff when deferred factory throws unhandled": (
        BY_EXCEPTION
    ),
    "restart.withLimit when deferred factory throws": (
        "test_a_start_that_fails_is_a_crash_and_is_tried_again",
    ),
    "fail after more than limit in restart.withLimit when deferred factory throws": (
        "test_a_start_that_always_fails_spends_its_budget_and_no_more",
    ),
    "fail instead of restart with limit when deferred factory throws unhandled": BY_EXCEPTION,
    "fail when exception from AbstractBehavior constructor": (
        "test_a_constructor_that_fails_is_a_crash",
    ),
    "ensure unhandled message retention during unstash exception when restart": (
        "test_a_second_crash_among_the_kept_messages_loses_only_that_message",
    ),
    "ensure unhandled message retention during unstash exception when backoff": (
        "test_messages_told_while_it_is_down_are_read_by_the_next_incarnation",
    ),
    "ensure stash message retention on start exception when restart": (
        "test_a_crash_while_it_restarts_is_another_restart",
    ),
    "ensure stash message retention on start exception when backoff": (
        "test_a_start_that_fails_is_a_crash_and_is_tried_again",
    ),
    "work with nested supervisions and defers": ("test_supervisors_nest",),
    "work with flatten supervisions and defers": BEHAVIOUR,
    "replace supervision when new returned behavior catches same exception": BEHAVIOUR,
    "replace supervision when new returned behavior catches same exception nested in other "
    "behaviors": BEHAVIOUR,
    "replace backoff supervision duplicate when behavior is created in a setup": BEHAVIOUR,
    "be able to recover from a DeathPactException": (
        "a Down is a call of the `down` hook, not an exception in the watcher"
    ),
    "log exceptions when logging is enabled and provided log level matches": LOGGING,
    "do not log exceptions when logging is enabled and provided log level does not match": LOGGING,
    "log at critical level after specified restartWithBackoff attempts": LOGGING,
    "handle exceptions from different message type": (
        "test_a_message_without_a_handler_is_a_dead_letter_and_no_crash",
    ),
    "not allow AbstractBehavior without setup": BEHAVIOUR,
    "detect AbstractBehavior with wrong ActorContext": (
        "test_the_context_of_an_earlier_incarnation_does_not_stop_a_later_one",
    ),
    "apply supervision to adapter function": (
        "test_a_task_beside_the_handlers_crashes_the_incarnation_and_ends_with_it",
    ),
    "apply the right nested supervision": BY_EXCEPTION,
    "apply the right flatten supervision": BY_EXCEPTION,
    "that is initially stopped should be stopped": (
        "test_a_child_stopped_before_it_started_never_starts",
    ),
    "that is stopped after setup should be stopped": (
        "test_an_actor_may_end_itself_while_it_starts",
    ),
    "that is stopped after restart should be stopped": (
        "test_a_halted_sibling_that_had_ended_itself_is_not_brought_back",
    ),
}


def _cases(suite: str, rows: dict[str, tuple[str, ...] | str]) -> list[Case]:
    return [
        Case(suite, name, why_not=row) if isinstance(row, str) else Case(suite, name, row)
        for name, row in rows.items()
    ]


CASES: Final = (
    *_cases("erlang/otp lib/stdlib/test/supervisor_SUITE.erl", _OTP),
    *_cases("apache/pekko SupervisionSpec.scala", _PEKKO),
)
