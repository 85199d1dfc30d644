/** The topics with the most subscribers, each one click from being followed. */
import { words } from "../ground/words.ts";
import type { ServerStatus } from "./status.ts";

interface TopicListProps {
  readonly status: ServerStatus;
  readonly onFollow: (topic: string) => void;
}

export function TopicList({ status, onFollow }: TopicListProps) {
  const say = words.value;
  const topics = status.samples.value.at(-1)?.busiestTopics ?? [];
  if (topics.length === 0) return null;
  return (
    <div class="topic-list" data-part="topicList">
      <h3>{say.topicList}</h3>
      <ul>
        {topics.map(({ topic, subscribers }) => (
          <li key={topic}>
            <button type="button" title={say.follow(topic)} onClick={() => onFollow(topic)}>
              {topic} <span class="label">{say.subscribers(subscribers)}</span>
            </button>
          </li>
        ))}
      </ul>
    </div>
  );
}
