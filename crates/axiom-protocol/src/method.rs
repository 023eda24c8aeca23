//! Every method and notification that the gateway treats in a way of its own.

macro_rules! methods {
    ($($variant:ident = $name:literal,)*) => {
        /// What a message asks for or tells. [`Method::Other`] passes through untouched.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Method {
            $(#[doc = concat!("`", $name, "`")] $variant,)*
            /// A method this gateway has no rule for. Its text is at `Envelope::method_span`.
            Other,
            /// The message has no method: it is an answer.
            None,
        }

        impl Method {
            /// Every named method.
            pub const ALL: &'static [Method] = &[$(Method::$variant,)*];

            /// Finds the method with this (unescaped) name. Names are case-sensitive.
            pub fn parse(name: &[u8]) -> Method {
                $(const $variant: &[u8] = $name.as_bytes();)*
                match name {
                    $($variant => Method::$variant,)*
                    _ => Method::Other,
                }
            }

            /// The name on the wire; empty for [`Method::Other`] and [`Method::None`].
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Method::$variant => $name,)*
                    Method::Other | Method::None => "",
                }
            }
        }
    };
}

#[allow(
    non_upper_case_globals,
    reason = "the macro names a constant after each variant, for use as a pattern"
)]
mod table {
    methods! {
        // Client to server.
        Initialize = "initialize",
        Initialized = "notifications/initialized",
        Ping = "ping",
        Discover = "server/discover",
        ToolsList = "tools/list",
        ToolsCall = "tools/call",
        ResourcesList = "resources/list",
        ResourceTemplatesList = "resources/templates/list",
        ResourcesRead = "resources/read",
        ResourcesSubscribe = "resources/subscribe",
        ResourcesUnsubscribe = "resources/unsubscribe",
        PromptsList = "prompts/list",
        PromptsGet = "prompts/get",
        Complete = "completion/complete",
        SetLevel = "logging/setLevel",
        SubscriptionsListen = "subscriptions/listen",
        TasksGet = "tasks/get",
        TasksUpdate = "tasks/update",
        TasksCancel = "tasks/cancel",
        TasksResult = "tasks/result",
        TasksList = "tasks/list",
        // Server to client, legacy era only.
        CreateMessage = "sampling/createMessage",
        Elicit = "elicitation/create",
        RootsList = "roots/list",
        // Notifications.
        Cancelled = "notifications/cancelled",
        Progress = "notifications/progress",
        LogMessage = "notifications/message",
        ToolsListChanged = "notifications/tools/list_changed",
        ResourcesListChanged = "notifications/resources/list_changed",
        PromptsListChanged = "notifications/prompts/list_changed",
        RootsListChanged = "notifications/roots/list_changed",
        ResourceUpdated = "notifications/resources/updated",
        ElicitationComplete = "notifications/elicitation/complete",
        TaskStatus = "notifications/tasks/status",
        TasksNotification = "notifications/tasks",
        SubscriptionAcknowledged = "notifications/subscriptions/acknowledged",
    }
}
pub use table::Method;

impl Method {
    /// True for requests about one task, which `params.taskId` names.
    pub fn is_about_a_task(self) -> bool {
        matches!(
            self,
            Method::TasksGet | Method::TasksUpdate | Method::TasksCancel | Method::TasksResult
        )
    }
}
