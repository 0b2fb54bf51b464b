-- order: the place of a job in its deployment's queue: level first, then fair between API keys, then arrival.
-- priority/order.py explains the sums and does the same ones.

local LEVEL_STEP = 2251799813685248 -- 2^51

-- A job's member in the queue: arrival in fixed width first, so that equal scores sort by arrival.
local function member_of(sequence, id) return string.format('%013d:%s', sequence, id) end

local function id_of(member) return string.sub(member, 15) end -- 13 digits and a colon come first

-- The score of the first of `count` jobs that arrive together. The score of each next job is one more.
local function fair_score(deployment, level, api_key, count)
  local flow = level .. ':' .. api_key
  local virtual = tonumber(redis.call('HGET', K.vtime(deployment), level) or 0)
  local finish = tonumber(redis.call('HGET', K.flows(deployment), flow) or 0)
  local tag = math.max(virtual, finish)
  redis.call('HSET', K.flows(deployment), flow, whole(tag + count))
  return level * LEVEL_STEP + tag
end

-- Takes the best job out of the queue: its member and its score; nothing when the queue is empty.
local function pop_best(deployment)
  local best = redis.call('ZPOPMIN', K.queue(deployment))
  return best[1], best[2]
end

-- A job is claimed: the virtual time of its level is its start tag from now on.
local function advance_virtual_time(deployment, level, score)
  local tag = tonumber(score) - tonumber(level) * LEVEL_STEP
  if tag > tonumber(redis.call('HGET', K.vtime(deployment), level) or 0) then
    redis.call('HSET', K.vtime(deployment), level, whole(tag))
  end
end

-- Nothing waits any more, so no API key is ahead of its share.
local function end_busy_period(deployment) redis.call('DEL', K.flows(deployment)) end
